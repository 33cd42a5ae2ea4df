"""What only the gateway can find out for `everytoken doctor`: about itself, and about its upstreams."""
