"""Where in a trained network does space matter: the profile of its layers, as a command."""
