"""All words of the page: English, then French. Where a number `{n}` counts, singular and plural stand with a bar.

Names, descriptions and messages of errors come from elsewhere, and stay as they are.
"""

from __future__ import annotations

from pipeline.report.page.words_of_state import STATE_WORDS

MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
}
UNITS = {"B": "o", "kB": "ko", "MB": "Mo", "GB": "Go", "d": "j"}
"""In French."""

WORDS: dict[str, tuple[str, str]] = {
    # The page as a whole
    "title": ("Data lake", "Lac de données"),
    "as_of": ("As of", "État au"),
    "skip": ("Skip to the content", "Aller au contenu"),
    "contents": ("Contents", "Sommaire"),
    "footer": (
        "Made by metadata_utils.py --html (version {version}). Its figures are those of metadata_utils.py --json. "
        "All times are UTC.",
        "Page produite par metadata_utils.py --html (version {version}). Ses chiffres sont ceux de "
        "metadata_utils.py --json. Toutes les heures sont en UTC.",
    ),
    "moment": ("{date}, {time}\u00a0UTC", "{date} à {time}\u00a0UTC"),
    "ago": ("{age} ago", "il y a {age}"),
    "ahead": ("in {age}", "dans {age}"),
    "just_now": ("just now", "à l’instant"),
    "none_yet": ("none yet", "aucune donnée"),
    "in_all": ("In all", "Total"),
    "and_more": ("and {n} more|and {n} more", "et {n} autre|et {n} autres"),
    # The list of contents
    "to feeds": ("Feeds", "Flux"),
    "to fresh": ("Freshness", "Fraîcheur"),
    "to streams": ("Streams", "Streams"),
    "to tables": ("Tables", "Tables"),
    "to files": ("Files", "Fichiers"),
    "to runs": ("Runs", "Exécutions"),
    "to checks": ("Checks", "Contrôles"),
    "to warehouse": ("Warehouse", "Entrepôt"),
    "to star": ("Star schema", "Schéma en étoile"),
    "to lineage": ("Lineage", "Lignage"),
    # Feeds
    "feeds_lead": (
        "What the lake keeps: each feed is one stream or table of ksqlDB. Streams are kept day by day, "
        "tables as numbered versions.",
        "Ce que le lac conserve\u00a0: chaque flux correspond à un stream ou à une table de ksqlDB. Les streams sont "
        "conservés jour par jour, les tables sous forme de versions numérotées.",
    ),
    "feeds_caption": ("Feeds, with rows and size", "Flux, avec leur nombre de lignes et leur taille"),
    "feed": ("Feed", "Flux"),
    "kind": ("Kind", "Type"),
    "stream": ("stream", "stream"),
    "table": ("table", "table"),
    "trend": ("Trend", "Tendance"),
    "trend_of_stream": ("Rows a day of {feed}", "Lignes par jour de {feed}"),
    "trend_of_table": ("Rows of each version of {feed}", "Lignes de chaque version de {feed}"),
    "kept_for": ("Kept for", "Conservation"),
    "days": ("{n} day|{n} days", "{n} jour|{n} jours"),
    "versions": ("{n} version|{n} versions", "{n} version|{n} versions"),
    "for_ever": ("for ever", "sans limite"),
    "feeds_left_out": ("{n} smaller feed|{n} smaller feeds", "{n} flux plus petit|{n} flux plus petits"),
    "owned_by": ("Owner: {owner}", "Responsable\u00a0: {owner}"),
    "disabled": ("disabled", "désactivé"),
    # Streams, day by day
    "streams_title": ("Streams, day by day", "Streams, jour par jour"),
    "streams_lead": (
        "Rows and bytes of each day, by the time of the event in UTC.",
        "Lignes et volume de chaque jour, selon l’heure de l’événement en UTC.",
    ),
    "no_streams": ("There is no stream.", "Il n’y a aucun stream."),
    "chart_of_rows": (
        "Rows a day of {feed}, from {first} to {last}; the figures are in the table below",
        "Lignes par jour de {feed}, du {first} au {last}\u00a0; les chiffres figurent dans le tableau ci-dessous",
    ),
    "chart_of_bytes": (
        "Bytes a day of {feed}, from {first} to {last}; the figures are in the table below",
        "Volume par jour de {feed}, du {first} au {last}\u00a0; les chiffres figurent dans le tableau ci-dessous",
    ),
    "figures_of_days": ("Figures of {n} day|Figures of {n} days", "Chiffres de {n} jour|Chiffres des {n} jours"),
    "days_caption": ("Days of {feed}", "Jours de {feed}"),
    "day": ("Day", "Jour"),
    "days_before": ("Earlier", "Avant"),
    "days_after": ("Later: a time to come", "Après\u00a0: dates à venir"),
    "days_undated": ("Without a date", "Sans date"),
    "rows_undated": ("{n} row without a date|{n} rows without a date", "{n} ligne sans date|{n} lignes sans date"),
    # Tables, version by version
    "tables_title": ("Tables, version by version", "Tables, version par version"),
    "tables_lead": (
        "Each export of a table is a complete version; older ones are kept as long as the feed says.",
        "Chaque export d’une table produit une version complète\u00a0; les précédentes restent disponibles selon la "
        "durée de conservation du flux.",
    ),
    "no_tables": ("There is no table.", "Il n’y a aucune table."),
    "version": ("Version", "Version"),
    "version_n": ("version {n}", "version {n}"),
    "chart_of_versions": (
        "Rows of {feed}, from {first} to {last}; the figures are in the table below",
        "Lignes de {feed}, de la {first} à la {last}\u00a0; les chiffres figurent dans le tableau ci-dessous",
    ),
    "versions_caption": ("Versions of {feed}", "Versions de {feed}"),
    "read_at": ("Read at", "Lue le"),
    "change": ("Change in rows", "Variation du nombre de lignes"),
    "current": ("current", "courante"),
    "older_versions": ("{n} older version|{n} older versions", "{n} version antérieure|{n} versions antérieures"),
    "since_version": ("From version {old} to version {new}:", "De la version {old} à la version {new}\u00a0:"),
    "rows_new": ("new row|new rows", "nouvelle ligne|nouvelles lignes"),
    "rows_gone": ("row gone|rows gone", "ligne disparue|lignes disparues"),
    "rows_changed": ("row changed|rows changed", "ligne modifiée|lignes modifiées"),
    "rows_unchanged": ("row unchanged|rows unchanged", "ligne inchangée|lignes inchangées"),
    "not_compared": (
        "The last two versions were not compared:",
        "Les deux dernières versions n’ont pas été comparées\u00a0:",
    ),
    # Files
    "files_title": ("Files, and what compaction would gain", "Fichiers et gain d’une compaction"),
    "compaction_lead": (
        "Compaction would make {made} of {taken}: queries open fewer files, and the rows stay the same.",
        "Une compaction ramènerait {taken} à {made}\u00a0: les requêtes ouvrent moins de fichiers, les lignes restent "
        "identiques.",
    ),
    "nothing_to_compact": (
        "There is nothing to compact: no day that is over, and no version, has several small files.",
        "Rien à compacter\u00a0: aucun jour révolu, aucune version ne compte plusieurs petits fichiers.",
    ),
    "files_caption": ("Files of each feed", "Fichiers de chaque flux"),
    "file_count": ("Files", "Fichiers"),
    "files_n": ("{n} file|{n} files", "{n} fichier|{n} fichiers"),
    "smallest": ("Smallest", "Le plus petit"),
    "median": ("Median", "Médiane"),
    "largest": ("Largest", "Le plus grand"),
    "of_no_commit": ("Of no commit", "Hors commit"),
    "compaction": ("Compaction", "Compaction"),
    "compact_nothing": ("no gain", "aucun gain"),
    "compact_gain": ("{taken} ({size}) would become {made}", "{taken} ({size}) en formeraient {made}"),
    # Runs
    "runs_title": ("Last runs", "Dernières exécutions"),
    "runs_lead": (
        "The commands that changed or proved the lake, newest first.",
        "Les commandes qui ont modifié ou contrôlé le lac, de la plus récente à la plus ancienne.",
    ),
    "no_runs": ("No runs are recorded.", "Aucune exécution n’est enregistrée."),
    "runs_caption": ("Last runs of commands", "Dernières exécutions des commandes"),
    "begun": ("Begun", "Début"),
    "command": ("Command", "Commande"),
    "state": ("Outcome", "Résultat"),
    "took": ("Took", "Durée"),
    "state ok": ("ok", "réussie"),
    "state failed": ("failed", "en échec"),
    "state again later": ("to be tried again later", "à relancer plus tard"),
    "state stopped": ("stopped by a person", "interrompue"),
    "state running": ("running", "en cours"),
    "state killed": ("killed", "tuée"),
    "state no end known": ("no end known", "fin inconnue"),
    # Checks
    "checks_title": ("Checks and reconciliation", "Contrôles et rapprochement"),
    "checks_lead": (
        "What metadata_utils.py verify compared last, and what came of it.",
        "Ce que metadata_utils.py verify a comparé en dernier, et avec quel résultat.",
    ),
    "checks_caption": ("Last checks", "Derniers contrôles"),
    "compared": ("Compared", "Comparaison"),
    "when": ("When", "Date"),
    "outcome": ("Outcome", "Résultat"),
    "check files": ("Files with their log", "Fichiers et journal"),
    "check files means": (
        "each file is there, whole and unchanged, and no row is there twice",
        "chaque fichier est présent, complet et inchangé, et aucune ligne n’est en double",
    ),
    "check new files": ("New files with their log", "Nouveaux fichiers et journal"),
    "check new files means": (
        "the same, of the files that a run wrote, or of some feeds",
        "de même, pour les fichiers écrits par une exécution ou pour certains flux",
    ),
    "check logs": ("Logs, and which files there are", "Journaux et fichiers présents"),
    "check logs means": (
        "what each log says fits together, and each file has its size; no file was read",
        "ce que dit chaque journal concorde, et chaque fichier a sa taille\u00a0; aucun fichier n’a été lu",
    ),
    "check source": ("Lake with ksqlDB or Kafka", "Lac et ksqlDB ou Kafka"),
    "check source means": (
        "each row of the source is in the lake, with the same values",
        "chaque ligne de la source est dans le lac, avec les mêmes valeurs",
    ),
    "check warehouse": ("Warehouse with lake", "Entrepôt et lac"),
    "check warehouse means": (
        "each snapshot has the rows of the version that it was loaded from",
        "chaque instantané contient les lignes de la version dont il provient",
    ),
    "never": ("never", "jamais"),
    "not_checked": ("not checked", "non contrôlé"),
    "not_all_checked": ("not all could be checked", "contrôle incomplet"),
    "no_problem": ("no problem", "aucune anomalie"),
    "problems": ("{n} problem|{n} problems", "{n} anomalie|{n} anomalies"),
    "found": ("Found", "Constats"),
    # The warehouse
    "warehouse_title": ("The warehouse’s snapshots", "Instantanés de l’entrepôt"),
    "not_asked": (
        "The warehouse was not asked for. To see its snapshots:",
        "L’entrepôt n’a pas été interrogé. Pour voir ses instantanés\u00a0:",
    ),
    "no_snapshots": ("Nothing has been loaded yet.", "Rien n’a encore été chargé."),
    "views_newest": (
        "The current_* views show snapshot {version}, which has the newest data.",
        "Les vues current_* présentent l’instantané {version}, qui contient les données les plus récentes.",
    ),
    "views_behind": (
        "{n} view shows an older snapshot than the newest.|{n} views show an older snapshot than the newest.",
        "{n} vue présente un instantané antérieur au plus récent.|"
        "{n} vues présentent un instantané antérieur au plus récent.",
    ),
    "snapshots_caption": ("List of snapshots", "Liste des instantanés"),
    "snapshot": ("Snapshot", "Instantané"),
    "taken": ("Data of", "Données du"),
    "loaded": ("Loaded", "Chargé le"),
    "rejected": ("Rejected", "Rejets"),
    "shown_by": ("Shown by the views of", "Présenté par les vues de"),
    # The star
    "star_title": ("The star schema", "Le schéma en étoile"),
    "star_lead": (
        "How the warehouse’s tables belong together. A fact has its own rows in each snapshot; a dimension describes "
        "what its key names. PK is part of a row’s key, FK refers to a dimension.",
        "Les liens entre les tables de l’entrepôt. Une table de faits a ses propres lignes dans chaque "
        "instantané\u00a0; une dimension décrit ce que désigne sa clé. PK\u00a0: élément de la clé\u00a0; "
        "FK\u00a0: renvoi à une dimension.",
    ),
    "star_label": (
        "Entity-relationship diagram: {facts}, {dimensions}; the table below says the same",
        "Diagramme entité-association\u00a0: {facts}, {dimensions}\u00a0; le tableau ci-dessous dit la même chose",
    ),
    "facts_n": ("{n} fact|{n} facts", "{n} table de faits|{n} tables de faits"),
    "dimensions_n": ("{n} dimension|{n} dimensions", "{n} dimension|{n} dimensions"),
    "no_mappings": ("No feed is loaded into the warehouse.", "Aucun flux n’alimente l’entrepôt."),
    "star_caption": ("Facts and their dimensions", "Tables de faits et dimensions"),
    "fact": ("Fact", "Table de faits"),
    "one_row_a": ("One row for each", "Une ligne par"),
    "dimension": ("Dimension", "Dimension"),
    "from_feed": ("From the feed", "Flux d’origine"),
    # Lineage
    "lineage_title": ("Lineage", "Lignage"),
    "lineage_lead": (
        "From the object of ksqlDB to the files of the lake, and on to the table of the warehouse.",
        "De l’objet ksqlDB aux fichiers du lac, puis à la table de l’entrepôt.",
    ),
    "ksqldb_stream": ("ksqlDB stream", "Stream ksqlDB"),
    "ksqldb_table": ("ksqlDB table", "Table ksqlDB"),
    "topic": ("topic {topic}, {n} partition|topic {topic}, {n} partitions",
              "topic {topic}, {n} partition|topic {topic}, {n} partitions"),
    "made_of": ("made of {topics}", "calculée à partir de {topics}"),
    "in_lake": ("Folder of the lake", "Dossier du lac"),
    "days_of_rows": ("{n} day of rows|{n} days of rows", "{n} jour de données|{n} jours de données"),
    "newest_file": ("newest:", "dernier\u00a0:"),
    "in_queries": ("Views for queries", "Vues de consultation"),
    "not_in_warehouse": ("not loaded into the warehouse", "non chargé dans l’entrepôt"),
    "in_warehouse": ("Table of the warehouse", "Table de l’entrepôt"),
    "with_dimension": ("and its dimension {table}", "et sa dimension {table}"),
    **STATE_WORDS,
}  # fmt: skip
