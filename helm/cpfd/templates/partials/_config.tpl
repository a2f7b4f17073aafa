{{- /* Where an arm's bundle lies inside the container. */}}
{{- define "cpfd.bundlePath" -}}
{{- if .bundle.source -}}/fetched/{{ .name }}{{- else -}}{{ printf "/bundles/%s/%s" .name (default "" .bundle.path) | trimSuffix "/" }}{{- end -}}
{{- end }}

{{- /* The service's YAML file; takes (dict "root" $ "workload" w). */}}
{{- define "cpfd.config" -}}
{{- $values := .root.Values -}}
{{- $arms := list -}}
{{- range .workload.arms -}}
{{- $arms = append $arms (dict "name" .name "weight" .weight "bundle" (include "cpfd.bundlePath" .)) -}}
{{- end -}}
{{- $own := dict
  "host" "0.0.0.0"
  "port" $values.containerPort
  "metrics_port" $values.metricsPort
  "arms" $arms
  "body" (dict "spool_directory" "/spool")
  "drain" (dict "max_seconds" (add1 (include "cpfd.longestDeadlineSeconds" .root | int))) -}}
{{- if $values.log.enabled -}}
{{- $log := dict "directory" "/log" -}}
{{- if not (or $values.log.claim (dig "log" "max_bytes" 0 $values.config)) -}}
{{- $_ := set $log "max_bytes" (include "cpfd.logBytes" .root | int64) -}}
{{- end -}}
{{- $_ := set $own "log" $log -}}
{{- end -}}
{{- if $values.experiment.stops.claim -}}
{{- $_ := set $own "experiment" (dict "stop_file" "/stops/stops.json") -}}
{{- end -}}
{{- if $values.gpu.enabled -}}
{{- $_ := set $own "lanes" (dict "provider" "cuda") -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite (include "cpfd.sizedConfig" .root | fromJson) (deepCopy $values.config) $own) -}}
{{- end }}
