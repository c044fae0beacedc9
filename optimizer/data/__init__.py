"""What becomes of a data set: training, calibration, selection and evaluation rows that share nothing."""
