"""Data that needs no download: Fashion-MNIST readers, procedural shapes, ImageFolder writing.

Nothing here imports torch or an OpenMMLab package; numpy and pillow are enough.
"""
