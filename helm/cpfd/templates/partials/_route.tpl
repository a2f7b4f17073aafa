{{- /* Seconds that a route gives a request: the longest deadline, and time to say that it is over. */}}
{{- define "cpfd.routeSeconds" -}}
{{- add (include "cpfd.longestDeadlineSeconds" . | int) 5 -}}
{{- end }}

{{- /* Services that a route leads to, with weights, as JSON: one, or each arm's. */}}
{{- define "cpfd.backends" -}}
{{- $name := include "cpfd.fullname" . -}}
{{- $made := list -}}
{{- if eq .Values.split.mode "gateway" -}}
{{- range include "cpfd.arms" . | fromJsonArray -}}
{{- $made = append $made (dict "name" (printf "%s-%s" $name .name) "weight" (int .weight)) -}}
{{- end -}}
{{- else -}}
{{- $made = list (dict "name" $name "weight" 100) -}}
{{- end -}}
{{- toJson $made -}}
{{- end }}

{{- /* ingress-nginx refuses bodies over 1 MB and requests over 60 s unless it is told. */}}
{{- define "cpfd.nginxLimits" -}}
nginx.ingress.kubernetes.io/proxy-body-size: {{ include "cpfd.mebibytes" (include "cpfd.largestBody" .) | trimSuffix "Mi" }}m
nginx.ingress.kubernetes.io/proxy-read-timeout: {{ include "cpfd.routeSeconds" . | quote }}
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
{{- end }}
