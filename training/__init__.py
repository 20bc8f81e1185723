"""Networks and data brought together: options, Lightning modules, runs and what they leave behind."""

from spatial_dependency import check_siblings

check_siblings("training", "data", "detector")
