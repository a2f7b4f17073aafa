"""Student checkpoint -> verified bundle.

to_onnx       student in torch -> model.onnx with the contract's inputs and outputs, and no others
parity        torch against ONNX over batch sizes, text lengths and missing modalities
golden        recorded examples that every server replays before it is ready
model_card    MODEL_CARD.md from the checkpoint and the report
reference     the distribution of the exported model's scores on held-out rows, which drift is measured against
write_bundle  all of the above -> a directory that ``contract.bundle.read_bundle`` accepts
"""
