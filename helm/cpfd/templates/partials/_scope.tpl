{{- /* An expression of files/rules.yaml, narrowed to this release; takes (dict "root" $ "expr" text). What the service
shows, and `up`, have the namespace and the job; what kube-state-metrics shows has the namespace and the pod. */}}
{{- define "cpfd.scoped" -}}
{{- $job := default .root.Release.Name .root.Values.monitoring.rules.job -}}
{{- $own := printf "namespace=%q,job=%q" .root.Release.Namespace $job -}}
{{- $names := list -}}
{{- range include "cpfd.workloads" .root | fromJsonArray -}}{{- $names = append $names .name -}}{{- end -}}
{{- $pods := printf "namespace=%q,pod=~\"(%s)-[a-z0-9]+-[a-z0-9]+\"" .root.Release.Namespace (join "|" $names) -}}
{{- $series := `\b((?:job[a-z_]*:)?cpfd_[a-z0-9_:]+)` -}}
{{- $text := regexReplaceAll (printf `%s\{` $series) .expr (printf "${1}{%s," $own) -}}
{{- $text = regexReplaceAll (printf `%s([^a-z0-9_:{]|$)` $series) $text (printf "${1}{%s}${2}" $own) -}}
{{- $text = regexReplaceAll `\bup\{` $text (printf "up{%s," $own) -}}
{{- regexReplaceAll `\b(kube_[a-z_]+)\{` $text (printf "${1}{%s," $pods) -}}
{{- end }}
