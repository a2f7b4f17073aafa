{{- /* Names this run: whatever goes into its Jobs, whose pods cannot be changed once they are made. */}}
{{- define "cpfd.loadtestRun" -}}
{{- list .Values.loadtest (include "cpfd.arms" .) .Values.split.mode .Values.service.port .Values.podSecurityContext .Values.imagePullSecrets .Values.commonLabels .Chart.AppVersion | toJson | sha256sum | trunc 5 -}}
{{- end }}

{{- /* Takes (dict "root" $ "role" "master" or "worker"). */}}
{{- define "cpfd.loadtestJob" -}}
{{- printf "%s-loadtest-%s-%s" (include "cpfd.fullname" .root) .role (include "cpfd.loadtestRun" .root) -}}
{{- end }}

{{- /* Seconds until a Job is given up: waiting, the plan, its last answers, the judgement. */}}
{{- define "cpfd.loadtestDeadline" -}}
{{- add .Values.loadtest.readySeconds (.Values.loadtest.seconds | ceil | int) 300 -}}
{{- end }}

{{- /* objectives.yaml: the values', with every arm that has a weight. */}}
{{- define "cpfd.loadtestObjectives" -}}
{{- $arms := deepCopy (dig "arms" dict .Values.loadtest.objectives) -}}
{{- range include "cpfd.arms" . | fromJsonArray -}}
{{- if and (gt (float64 .weight) 0.0) (not (hasKey $arms .name)) -}}{{- $_ := set $arms .name dict -}}{{- end -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.loadtest.objectives) (dict "arms" $arms)) -}}
{{- end }}

{{- /* Of a pod; takes the same. */}}
{{- define "cpfd.loadtestPodLabels" -}}
{{- include "cpfd.podLabels" (dict "root" .root "component" (printf "loadtest-%s" .role)) }}
cpfd/loadtest: {{ include "cpfd.loadtestRun" .root | quote }}
{{- end }}

{{- define "cpfd.loadtestLabels" -}}
{{- include "cpfd.labels" (dict "root" .root "component" (printf "loadtest-%s" .role)) }}
cpfd/loadtest: {{ include "cpfd.loadtestRun" .root | quote }}
{{- end }}

{{- /* A Job; takes (dict "root" $ "role" "master" or "worker" "pods" count). */}}
{{- define "cpfd.loadtestJobManifest" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $test := .root.Values.loadtest -}}
{{- $name := include "cpfd.fullname" .root -}}
{{- $master := eq .role "master" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "cpfd.loadtestJob" . }}
  labels:
    {{- include "cpfd.loadtestLabels" . | nindent 4 }}
spec:
  # A part that fails is not made up for: what is left would not be the test that was asked for.
  backoffLimit: 0
  parallelism: {{ .pods }}
  completions: {{ .pods }}
  activeDeadlineSeconds: {{ include "cpfd.loadtestDeadline" $root }}
  template:
    metadata:
      labels:
        {{- include "cpfd.loadtestPodLabels" . | nindent 8 }}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        {{- toYaml $values.podSecurityContext | nindent 8 }}
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $test.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $test.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: loadtest
          image: {{ include "cpfd.imageReference" (dict "root" $root "image" $test.image) }}
          imagePullPolicy: {{ $test.image.pullPolicy }}
          args:
            - run
            - --host={{ default (printf "http://%s:%v" $name $values.service.port) $test.target }}
            - --allow-remote
            {{- if eq $values.split.mode "gateway" }}
            {{- range $values.arms }}
            - --wait-for=http://{{ $name }}-{{ .name }}:{{ $values.service.port }}/readyz
            {{- end }}
            {{- else }}
            - --wait-for=http://{{ $name }}:{{ $values.service.port }}/readyz
            {{- end }}
            - --wait-seconds={{ $test.readySeconds }}
            - --shape={{ $test.shape }}
            - --rate={{ $test.rate }}
            - --seconds={{ $test.seconds }}
            {{- with $test.arm }}
            - --arm={{ . }}
            {{- end }}
            {{- if eq $values.split.mode "gateway" }}
            - --mix=duplicate=0 # a router does not send the same id to the same arm again
            {{- end }}
            - --objectives=/etc/loadtest/objectives.yaml
            - --out=/results
            {{- if $test.corpusClaim }}
            - --corpus=/corpus
            {{- end }}
            {{- if $master }}
            - --master
            - --expect-workers={{ $test.workers }}
            {{- else }}
            - --worker
            - --master-host={{ $name }}-loadtest
            {{- end }}
            {{- with $test.extraArgs }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if $master }}
          ports:
            - {name: locust, containerPort: 5557}
          {{- end }}
          securityContext:
            {{- include "cpfd.containerSecurity" $root | nindent 12 }}
          resources:
            {{- toYaml $test.resources | nindent 12 }}
          volumeMounts:
            - {name: objectives, mountPath: /etc/loadtest, readOnly: true}
            - {name: results, mountPath: /results}
            - {name: tmp, mountPath: /tmp}
            {{- if $test.corpusClaim }}
            - {name: corpus, mountPath: /corpus, readOnly: true}
            {{- end }}
      volumes:
        - name: objectives
          configMap:
            name: {{ $name }}-loadtest
        - name: results
          {{- if and $master $test.resultsClaim }}
          persistentVolumeClaim:
            claimName: {{ $test.resultsClaim }}
          {{- else }}
          emptyDir:
            sizeLimit: 1Gi
          {{- end }}
        - name: tmp
          emptyDir:
            sizeLimit: 256Mi
        {{- with $test.corpusClaim }}
        - name: corpus
          persistentVolumeClaim:
            claimName: {{ . }}
            readOnly: true
        {{- end }}
{{- end }}
