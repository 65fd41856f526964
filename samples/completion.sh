# Completion of commands, options and names of feeds, for bash (4.4 or newer) and zsh. In ~/.bashrc or ~/.zshrc:
#   . /opt/ksqldb-lake/samples/completion.sh
# It completes what is typed as `python manage_feeds.py ...`, with any Python that can run the scripts. Other words
# behind `python` are completed as names of files.

if [ -n "${ZSH_VERSION:-}" ]; then
    whence compdef >/dev/null || { autoload -U +X compinit && compinit; }
    autoload -U +X bashcompinit && bashcompinit
fi

_ksqldb_lake() {
    local script name variable line
    script="${COMP_WORDS[1]/#\~/$HOME}"
    name="${script##*/}"
    COMPREPLY=()
    case "$name" in
        data_lake_config.py|export_to_data_lake.py|manage_feeds.py|metadata_utils.py|sync_to_mysql.py|test_setup.py) ;;
        *) return 0 ;;
    esac
    [ "$COMP_CWORD" -gt 1 ] || return 0
    variable="_$(printf '%s' "$name" | tr 'a-z.' 'A-Z_')_COMPLETE"
    while IFS= read -r line; do # kind,value
        [ "${line%%,*}" = plain ] && COMPREPLY+=("${line#*,}")
    done < <(env COMP_WORDS="${COMP_WORDS[*]:1}" COMP_CWORD=$((COMP_CWORD - 1)) "$variable=bash_complete" \
        "${COMP_WORDS[0]/#\~/$HOME}" "$script" 2>/dev/null)
    return 0
}

complete -o default -F _ksqldb_lake python python3
