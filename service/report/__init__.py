"""One offline HTML page of a model's variants: the plot of accuracy against latency, all figures, and the lineage."""
