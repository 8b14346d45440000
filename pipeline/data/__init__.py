"""From files to rows; imports kmeans_tf and `pipeline.errors`, never Beam."""
