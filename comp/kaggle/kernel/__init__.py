"""A notebooks-only competition: the folder for ``kaggle kernels push`` and the dataset that its notebook attaches."""
