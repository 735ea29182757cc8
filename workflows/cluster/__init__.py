"""What submits a workflow to Argo and follows it: through kubectl, or through an Argo Server."""
