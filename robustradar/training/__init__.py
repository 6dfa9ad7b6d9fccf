"""Trains one `FitSpec`: data on the device, the network with its normalisation, the loss, and the loop."""
