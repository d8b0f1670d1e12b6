-- The manifest is complete. KEYS: album. ARGV: photos in it. A smaller number than before is
-- passed over: it comes from a feeder that has not seen what was added.
-- Returns 1, or -1 for an unknown album.
local old = redis.call('HGET', KEYS[1], 'expected')
if not old then return -1 end
if tonumber(ARGV[1]) >= tonumber(old) then
    redis.call('HSET', KEYS[1], 'sealed', 1, 'expected', ARGV[1])
end
return 1
