"""Faster forms of functions in `visattn.mechanisms`, chosen inside them.

Each form is registered with PyTorch as an operator of its own, so that `torch.compile`,
`torch.export` and autocast treat it as one step.
"""
