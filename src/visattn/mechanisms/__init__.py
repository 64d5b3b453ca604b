"""One file per mechanism: the formula as a loop, the same vectorised, the Module."""
