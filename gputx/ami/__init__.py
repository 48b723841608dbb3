"""What goes into an image: the recipe as data, without anything of AWS."""
