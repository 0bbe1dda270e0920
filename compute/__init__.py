"""The cloud itself: instances, hosts, images, networks, and the operations on them."""
