"""Words of the page's beginning: is all well, the lake at a glance, freshness and volume."""

from __future__ import annotations

STATE_WORDS: dict[str, tuple[str, str]] = {
    # Is all well?
    "all_well": ("All is well", "Tout va bien"),
    "all_well_means": (
        "Every feed can be read and keeps its limits, the newest run of each command ended well, the last checks found "
        "nothing wrong, and there is room.",
        "Tous les flux sont lisibles et respectent leurs limites, la dernière exécution de chaque commande s’est bien "
        "terminée, les derniers contrôles n’ont relevé aucune anomalie et la place ne manque pas.",
    ),
    "to_look_at": ("{n} thing to look at|{n} things to look at", "{n} point à examiner|{n} points à examiner"),
    "never_exported": ("{feed} has never been exported.", "Le flux {feed} n’a encore jamais été exporté."),
    "too_old": (
        "The newest data of {feed} is older than {limit}: {age}.",
        "La donnée la plus récente du flux {feed} a plus de {limit}\u00a0: {age}.",
    ),
    "export_too_old": (
        "The last good export of {feed} is older than {limit}: {age}.",
        "Le dernier export réussi du flux {feed} date de plus de {limit}\u00a0: {age}.",
    ),
    "export_failed": ("The last export of {feed} failed:", "Le dernier export du flux {feed} a échoué\u00a0:"),
    "no_moment": (
        "{feed} has a limit of age, and no data that could be younger.",
        "Le flux {feed} a un âge limite, mais aucune donnée datée.",
    ),
    "too_few_of_day": (
        "{feed} has {rows} rows of yesterday (UTC), fewer than {least}.",
        "Le flux {feed} compte {rows} lignes pour hier (UTC), moins que le minimum de {least}.",
    ),
    "too_few_in_version": (
        "The current version of {feed} has {rows} rows, fewer than {least}.",
        "La version courante du flux {feed} compte {rows} lignes, moins que le minimum de {least}.",
    ),
    "little_room": (
        "Only {free} are free where the lake is; it should have {least}.",
        "Il ne reste que {free} libres là où se trouve le lac\u00a0; il en faudrait {least}.",
    ),
    "run_ended": ("{command}: {state}.", "{command}\u00a0: {state}."),
    "found_wrong": (
        "{check}: the last check found {n} problem.|{check}: the last check found {n} problems.",
        "{check}\u00a0: le dernier contrôle a relevé {n} anomalie.|"
        "{check}\u00a0: le dernier contrôle a relevé {n} anomalies.",
    ),
    "never_verified": ("The lake has never been verified.", "Le lac n’a encore jamais été contrôlé."),
    "warehouse_away": ("The warehouse could not be asked.", "L’entrepôt n’a pas pu être interrogé."),
    # At a glance
    "glance": ("At a glance", "En bref"),
    "feeds": ("Feeds", "Flux"),
    "streams": ("{n} stream|{n} streams", "{n} stream|{n} streams"),
    "tables": ("{n} table|{n} tables", "{n} table|{n} tables"),
    "rows": ("Rows", "Lignes"),
    "rows_means": ("events, and rows of every kept version", "événements et lignes des versions conservées"),
    "size": ("Size", "Taille"),
    "of_files": ("file|files", "fichier|fichiers"),
    "newest_event": ("Newest data", "Donnée la plus récente"),
    "last_run": ("Last run", "Dernière exécution"),
    "last_proof": ("Last check", "Dernier contrôle"),
    "free": ("Free", "Espace libre"),
    "at_least": ("at least {least} wanted", "minimum souhaité\u00a0: {least}"),
    # Freshness
    "freshness": ("Freshness and volume", "Fraîcheur et volume"),
    "fresh_lead": (
        "How old the newest data of each feed is, the oldest first. For a stream that is its newest event, for a table "
        "the moment at which its current version was read. The rows are those of yesterday (UTC), of a table those of "
        "its current version.",
        "Âge de la donnée la plus récente de chaque flux, du plus ancien au plus récent. Pour un stream, il s’agit du "
        "dernier événement\u00a0; pour une table, de l’instant où la version courante a été lue. Les lignes sont "
        "celles d’hier (UTC), ou, pour une table, celles de sa version courante.",
    ),
    "fresh_caption": ("Freshness of each feed", "Fraîcheur de chaque flux"),
    "fresh_left_out": ("{n} feed with newer data|{n} feeds with newer data",
                       "{n} flux plus récent|{n} flux plus récents"),
    "newest_row": ("Newest data", "Donnée la plus récente"),
    "age": ("Age", "Âge"),
    "limit": ("Limit", "Limite"),
    "last_export": ("Last good export", "Dernier export réussi"),
    "judged_rows": ("Rows", "Lignes"),
    "least": ("At least", "Minimum"),
    "behind": ("Behind the source", "Retard sur la source"),
}  # fmt: skip
