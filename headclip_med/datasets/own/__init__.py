"""Anybody's own data: how a set is named with options, folders of any names, lists of images."""
