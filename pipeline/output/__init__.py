"""The output folder: its files, and publishing them; imports anything but the driver's commands."""
