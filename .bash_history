eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python train.py --lora-rank 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python3 ./train.py --quick-test 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python train.py --optimizer adafactor adam adamw 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python dataset.py --type alpaca chat preference riscv sql 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python dataset.py --no-check-answers 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python test_finetuned.py --show-base 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python benchmark.py --quick --history 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python train.py --config Makefile 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python other.py --lora-ra
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python train.py 
exit
eval "$(python -m finetune completion bash)"; echo ready
printf '<%s>' python train.py --lora-rank 
exit
