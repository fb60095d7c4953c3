"""Files in object stores and on HDFS, by URI: fetched into a local cache, published by a manifest; without torch."""
