"""Translation of images from one contrast, scanner or dose to another."""
