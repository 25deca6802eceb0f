"""What the object tier is made of: names and form of objects, stores by URL, requests of both colours, the sweeper."""
