"""The ports made real. Each outside library is used here and nowhere else in the control plane."""
