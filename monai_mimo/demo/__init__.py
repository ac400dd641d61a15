"""A local page on which a person without a viewer asks about an image."""
