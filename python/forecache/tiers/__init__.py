"""What lies below memory: tiers, and the layers around them."""
