{{- /* The port of an address: its own, else its scheme's. */}}
{{- define "cpfd.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "80" "443" (eq $url.scheme "http")) $port -}}
{{- end }}

{{- /* Ports at which bundles are fetched, ascending, as JSON. An object store's is that of AWS_ENDPOINT_URL. */}}
{{- define "cpfd.storePorts" -}}
{{- $endpoint := "https://store" -}}
{{- range .Values.fetch.extraEnv -}}
{{- if and (hasPrefix "AWS_ENDPOINT_URL" .name) .value -}}{{- $endpoint = .value -}}{{- end -}}
{{- end -}}
{{- $ports := list -}}
{{- range .Values.arms -}}
{{- $source := default "" .bundle.source -}}
{{- if hasPrefix "http" $source -}}
{{- $ports = append $ports (include "cpfd.portOf" $source | int) -}}
{{- else if and (contains "://" $source) (not (hasPrefix "file://" $source)) -}}
{{- $ports = append $ports (include "cpfd.portOf" $endpoint | int) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.log.enabled (not .Values.log.claim) (contains "://" .Values.log.shipTo) (not (hasPrefix "file://" .Values.log.shipTo)) -}}
{{- $endpoint = "https://store" -}}
{{- range .Values.log.extraEnv -}}
{{- if and (hasPrefix "AWS_ENDPOINT_URL" .name) .value -}}{{- $endpoint = .value -}}{{- end -}}
{{- end -}}
{{- $ports = append $ports (include "cpfd.portOf" $endpoint | int) -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | toJson -}}
{{- end }}
