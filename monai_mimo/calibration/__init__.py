"""What is fitted once weights are trained, and lies beside them: the domain of images, the temperature of scores."""
