"""For plugins that adapt the attacks of another library: all that is the same whichever library it is.

A subclass of `LibraryAttack` names its library and runs one search in the unit box. A library with many attacks is written down as a table
of `Row`, of which `declared` makes declarations. `robustradar.adapter.unit` shows the network to the library, and alone imports torch.
"""

from robustradar.adapter.attack import Library, LibraryAttack, Stage
from robustradar.adapter.table import Row, declared

__all__ = ["Library", "LibraryAttack", "Row", "Stage", "declared"]
