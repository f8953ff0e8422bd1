"""The page on which people drop radiographs, look at the masks, mend them and hand them on."""
