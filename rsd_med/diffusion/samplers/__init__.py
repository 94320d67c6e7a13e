"""From noise to images, a file for each kind of walk down the noise levels."""
