"""The training data: image sets, folders of images, and vectors. Read `source` first."""
