"""Teachers: the models whose knowledge is fused. Five families to train, one way to store and to use them all."""
