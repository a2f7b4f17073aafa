"""One file a method: a loss function and its row of the registry, ``METHOD``. ``registry`` lists them."""
