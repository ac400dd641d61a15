"""`mimo plan`: what a training run would need, before anything is downloaded or rented."""
