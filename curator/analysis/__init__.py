"""What numbers of several seeds say: means with intervals, differences that are paired by seed."""
