"""What plugins hand over: one extension point a file, all frozen dataclasses whose fields are their parameters."""
