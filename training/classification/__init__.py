"""Training and evaluating classifiers: ``train_classify.py``."""
