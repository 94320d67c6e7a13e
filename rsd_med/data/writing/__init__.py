"""Results to files: NIfTI with its geometry, PNG for eyes, DICOM that says what it is. A file is whole or not there."""

NOTE = "computed, not for diagnosis"
"""What every written file says about itself, in the words its format has room for."""
