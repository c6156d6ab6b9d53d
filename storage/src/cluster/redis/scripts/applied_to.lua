-- Returns nothing when the partition is not held.
return is_whole() and meta[3]
