select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding
