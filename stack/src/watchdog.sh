# Ends what its starter started, once the starter is gone: standard input is a pipe whose other end only the starter
# holds, so it closes even when the starter is SIGKILLed. Every program is in this shell's process group.
#   $1 the data folder   $2 "remove" or "keep" it
# Lines read:  pid N  |  postgres N  |  gone N
trap '' HUP INT TERM
pids=''
postgres=''
while read -r what pid; do
  case $what in
    pid) pids="$pids $pid" ;;
    postgres) pids="$pids $pid" postgres=$pid ;;
    gone)
      [ "$postgres" = "$pid" ] && postgres=''
      left=''
      for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done
      pids=$left
      ;;
  esac
done

# SIGQUIT is Postgres's immediate shutdown: it takes the backends along, which sit in process groups of their own.
[ -n "$postgres" ] && kill -QUIT "$postgres" 2>/dev/null
[ "$2" = keep ] && kill -TERM 0
[ "$2" = remove ] && for p in $pids; do [ "$p" = "$postgres" ] || kill -KILL "$p" 2>/dev/null; done
tries=0
while [ $tries -lt 30 ]; do
  alive=''
  for p in $pids; do kill -0 "$p" 2>/dev/null && alive=yes; done
  [ -z "$alive" ] && break
  sleep 0.1
  tries=$((tries + 1))
done
for p in $pids; do kill -KILL "$p" 2>/dev/null; done
[ "$2" = remove ] && rm -rf -- "$1"
kill -KILL 0
