"""What people see of data and results."""
