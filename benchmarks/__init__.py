"""The job side by side with what a user would pick instead, on the machine at hand."""
