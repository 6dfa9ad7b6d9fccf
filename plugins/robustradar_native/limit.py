"""The parameters by which every data set here can be cut down."""

from typing import Annotated

from pydantic import Field

TrainLimit = Annotated[int, Field(ge=0, description="Train on at most so many samples, chosen by class; 0: all.")]
EvalLimit = Annotated[int, Field(ge=0, description="Measure on at most so many samples, chosen by class; 0: all.")]
