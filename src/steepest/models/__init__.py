"""Classifiers of images [B, C, H, W]: one file and one `conf/model/*.yaml` each."""
