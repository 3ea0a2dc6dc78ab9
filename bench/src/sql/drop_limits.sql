drop table limit_source, limit_arrays, limit_copied, limit_keyed, limit_unnested
