"""A hospital's archive on a cluster: radiographs from any store to rows of Parquet, by Ray Data.

:func:`handseg_monai.archive.run.archive` segments it, :func:`handseg_monai.archive.csv.archive_csv` makes a submission
of the rows.
"""
